# Two images: `cswatch`, and with `--target app` the application of docker-compose.yml.

# Of the same Debian as the images below: a binary asks for a glibc at least as new as the one it was built with.
FROM rust:1-slim-bookworm AS build
WORKDIR /build
# The dependencies in a layer of their own, which only a change of Cargo.toml or Cargo.lock builds again. Both programs in one
# command: cargo settles on one set of features, and compiles each dependency once.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src examples \
    && echo 'fn main() {}' | tee src/main.rs > examples/app.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin cswatch --example app
COPY src src
COPY examples examples
# cargo goes by the time of a file, and those from the outside may be older than the empty ones built above.
RUN touch src/lib.rs src/main.rs examples/app.rs \
    && cargo build --release --locked --bin cswatch --example app \
    && strip target/release/cswatch target/release/examples/app \
    && install -d /out/cswatch

FROM debian:bookworm-slim AS app
COPY --from=build /build/target/release/examples/app /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["app"]

FROM debian:bookworm-slim AS cswatch
COPY --from=build /build/target/release/cswatch /usr/local/bin/
# Positions are kept in /var/lib/cswatch unless --resume-file says otherwise. A named volume mounted there takes over the owner.
COPY --from=build --chown=65532:65532 /out/cswatch /var/lib/cswatch
ENV XDG_STATE_HOME=/var/lib
USER 65532:65532
# By itself the first process: it handles SIGTERM and starts no others.
ENTRYPOINT ["cswatch"]
