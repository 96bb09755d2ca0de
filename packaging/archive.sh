#!/usr/bin/env bash
# Packs a built cswatch for a release: archive.sh BINARY TARGET creates cswatch-VERSION-TARGET.tar.gz (.zip for Windows) and its
# .sha256 in the current folder. The script runs the binary for its version, completions and manual page, so the binary must be built
# for this machine's platform.
set -euo pipefail

binary=$1
target=$2
source=$(cd "$(dirname "$0")/.." && pwd)

version=$("$binary" --version)
version=${version#cswatch }
name=cswatch-$version-$target
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$work/$name
mkdir -p "$folder"/{completions,man,systemd}

cp "$binary" "$source"/{README.md,CHANGELOG.md,LICENSE-MIT,LICENSE-APACHE} "$folder"
# Under the names that the shells look for.
"$binary" completions bash > "$folder/completions/cswatch.bash"
"$binary" completions fish > "$folder/completions/cswatch.fish"
"$binary" completions powershell > "$folder/completions/_cswatch.ps1"
"$binary" completions zsh > "$folder/completions/_cswatch"
"$binary" man > "$folder/man/cswatch.1"
for command in check token health completions man; do
    "$binary" man "$command" > "$folder/man/cswatch-$command.1"
done
cp "$source"/packaging/cswatch.{service,logrotate} "$folder/systemd"

case $target in
    *-windows-*)
        rm -r "$folder"/{man,systemd}
        archive=$name.zip
        # Every Windows runner has 7z, but not zip.
        (cd "$work" && 7z a -bso0 "$archive" "$name")
        ;;
    *)
        archive=$name.tar.gz
        tar -C "$work" -czf "$work/$archive" "$name"
        ;;
esac
(cd "$work" && if command -v sha256sum > /dev/null; then sha256sum "$archive"; else shasum -a 256 "$archive"; fi) > "$archive.sha256"
mv "$work/$archive" .
echo "$archive"
