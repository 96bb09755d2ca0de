# Two images, each with one static binary: `cswatch`, and with `--target app` the application of docker-compose.yml.

FROM rust:1-slim-bookworm AS build
WORKDIR /build
# Links Debian's libc statically: the binary needs nothing else at run time, and its allocator is the one that was measured.
ENV RUSTFLAGS="-C target-feature=+crt-static"
# Builds the dependencies in their own layer, which is rebuilt only when Cargo.toml or Cargo.lock change. Both programs are built by one
# command, so that cargo settles on one set of features and compiles each dependency once. With --target, RUSTFLAGS do not apply to
# procedural macros, which cannot be static.
# Cargo reads the manifests of the test crates too; neither program uses their code, so they stay empty.
COPY Cargo.toml Cargo.lock ./
COPY fuzz/Cargo.toml fuzz/
COPY tests/jq/Cargo.toml tests/jq/
COPY tests/testkit/Cargo.toml tests/testkit/
RUN mkdir src examples fuzz/src tests/jq/src tests/testkit/src \
    && echo 'fn main() {}' | tee src/main.rs tests/jq/src/main.rs > examples/app.rs \
    && touch src/lib.rs fuzz/src/lib.rs tests/testkit/src/lib.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" --bin cswatch --example app
COPY src src
COPY examples examples
# cargo compares modification times, and the copied files may be older than the empty ones built above.
RUN touch src/lib.rs src/main.rs examples/app.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" --bin cswatch --example app \
    && install -D --target-directory=/out target/*/release/cswatch target/*/release/examples/app \
    && install -d /state/cswatch

FROM scratch AS base
# Makes libc read /etc/hosts before it asks DNS; without this file it skips /etc/hosts when DNS answers. The binaries contain the
# certificate authorities for TLS.
COPY --from=build /etc/nsswitch.conf /etc/
USER 65532:65532

FROM base AS app
COPY --from=build /out/app /usr/local/bin/
ENTRYPOINT ["app"]

FROM base AS cswatch
COPY --from=build /out/cswatch /usr/local/bin/
# The resume file is in /var/lib/cswatch unless --resume-file is given. A named volume mounted there takes over the owner.
COPY --from=build --chown=65532:65532 /state/cswatch /var/lib/cswatch
ENV XDG_STATE_HOME=/var/lib
# cswatch needs no init process: it handles SIGTERM and starts no child processes.
ENTRYPOINT ["cswatch"]
