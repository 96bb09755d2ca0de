# Two images, each of one static program: `cswatch`, and with `--target app` the application of docker-compose.yml.

FROM rust:1-slim-bookworm AS build
WORKDIR /build
# The libc of Debian inside the program: nothing else is needed where it runs, and its allocator is the one that was measured.
ENV RUSTFLAGS="-C target-feature=+crt-static"
# The dependencies in a layer of their own, which only a change of Cargo.toml or Cargo.lock builds again. Both programs in one
# command: cargo settles on one set of features, and compiles each dependency once. The target is named so that RUSTFLAGS are not
# for the procedural macros, which cannot be static.
# Cargo reads the manifests of the tests' crates too; neither program uses their code, so they stay empty.
COPY Cargo.toml Cargo.lock ./
COPY fuzz/Cargo.toml fuzz/
COPY tests/testkit/Cargo.toml tests/testkit/
RUN mkdir src examples fuzz/src tests/testkit/src \
    && echo 'fn main() {}' | tee src/main.rs > examples/app.rs \
    && touch src/lib.rs fuzz/src/lib.rs tests/testkit/src/lib.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" --bin cswatch --example app
COPY src src
COPY examples examples
# cargo goes by the time of a file, and those from the outside may be older than the empty ones built above.
RUN touch src/lib.rs src/main.rs examples/app.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" --bin cswatch --example app \
    && install -D --target-directory=/out target/*/release/cswatch target/*/release/examples/app \
    && install -d /state/cswatch

FROM scratch AS base
# /etc/hosts before DNS; without this file libc does not look into it where DNS answers. Authorities for TLS are in the programs.
COPY --from=build /etc/nsswitch.conf /etc/
USER 65532:65532

FROM base AS app
COPY --from=build /out/app /usr/local/bin/
ENTRYPOINT ["app"]

FROM base AS cswatch
COPY --from=build /out/cswatch /usr/local/bin/
# Positions are kept in /var/lib/cswatch unless --resume-file says otherwise. A named volume mounted there takes over the owner.
COPY --from=build --chown=65532:65532 /state/cswatch /var/lib/cswatch
ENV XDG_STATE_HOME=/var/lib
# By itself the first process: it handles SIGTERM and starts no others.
ENTRYPOINT ["cswatch"]
