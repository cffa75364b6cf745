# flowgate's image. It runs as nobody in particular, writes nothing, and wants its configuration mounted:
#
#   docker run --read-only --cap-drop ALL -p 3000:3000 \
#     -v ./flowgate.toml:/etc/flowgate/flowgate.toml:ro -e FLOWGATE_JWT_SECRET flowgate
#
# The base images are pinned by tag only, because the digests could not be looked up where this was written. A tag can
# be moved: who builds for production should add `@sha256:…` to both.

FROM rust:1.95.0-bookworm AS build
WORKDIR /build

# First the dependencies by themselves, in a layer that changes with the lock file only. Empty sources stand in
# for ours until then.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs
RUN cargo build --release --locked --bin flowgate

COPY config config
# The playground links to some of these pages, so they are in the binary; so is the description of the admin API.
COPY docs docs
COPY src src
# cargo goes by modification times, and those of a checkout may be older than the empty sources'.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin flowgate

# The same Debian release as the build's, for its C library.
FROM debian:12.12-slim
# For `jwks_url`: the certificates of the public authorities.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/flowgate /usr/local/bin/flowgate

# A container's loopback reaches nobody, so the public port listens on every interface. The internal one stays on
# 127.0.0.1:3001 unless the configuration says otherwise: metrics and the admin API are not for everybody.
ENV FLOWGATE__SERVER__LISTEN=0.0.0.0:3000
# Read by every command, so that the health check asks where the mounted configuration says.
ENV FLOWGATE_CONFIG=/etc/flowgate
EXPOSE 3000 3001

# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/local/bin/flowgate", "health"]
ENTRYPOINT ["/usr/local/bin/flowgate"]
CMD ["serve"]
