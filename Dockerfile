# syntax=docker/dockerfile:1
# usher as one static file in an empty image: no shell, no libraries, no user but its own, and one directory that it may write to.

# Alpine's Rust builds for musl, and therefore static binaries.
FROM rust:1.95-alpine AS build
WORKDIR /build
# musl-dev is libc's headers and start files, for the C of ring and mimalloc and for linking.
# hadolint ignore=DL3018
RUN apk add --no-cache musl-dev

# The dependencies in a layer of their own, which lasts until Cargo.toml or Cargo.lock changes. Cargo wants every target that Cargo.toml names to exist.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/integration tests/model benches/fanout benches/load \
 && touch src/lib.rs tests/integration/main.rs tests/model/cluster.rs benches/memory.rs benches/state.rs benches/replay.rs benches/decide.rs benches/language.rs benches/fanout/main.rs benches/load/main.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --release --locked --bin usher

# The files are touched because Cargo compares times, and those of the real files may be older than those of the stand-ins. A binary that asks for a
# loader could not start in an empty image, so it ends the build here.
COPY ARCHITECTURE.md ./
COPY src src
RUN find src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked --bin usher \
 && test -z "$(readelf --string-dump=.interp target/release/usher 2>/dev/null)" \
 && target/release/usher --version

# Empty: what a volume there begins with, and whose it is.
RUN mkdir -p state/usher

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="usher" \
      org.opencontainers.image.description="A Pusher-compatible realtime gateway that announces an assignment only when it changes" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /build/target/release/usher /usher
# For state.path, in a volume. Not used unless it is set.
COPY --from=build --chown=65532:65532 /build/state /var/lib
# Loopback would be out of reach from outside the container. The admin listener stays there until admin.listen and a token say otherwise.
ENV USHER_SERVER__LISTEN=0.0.0.0:6001
USER 65532:65532
EXPOSE 6001 9601
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usher", "healthcheck"]
ENTRYPOINT ["/usher"]
CMD ["serve"]
