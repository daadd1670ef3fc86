# The image: one binary on distroless, without a shell, as a user without rights.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY migrations-lua migrations-lua
COPY config/default.toml config/default.toml
# The caches keep compiled dependencies between builds; a cache is no part of a layer, so the binary is copied out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --locked --release --bin gridtokenx-redis \
    && cp target/release/gridtokenx-redis /gridtokenx-redis

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="gridtokenx-redis" \
      org.opencontainers.image.description="The one door to Redis for the GridTokenX energy trading platform" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /gridtokenx-redis /gridtokenx-redis
# Inside a container every address is the container's own. There is no private Redis in the image: REDIS_URL is needed.
ENV PORT=8080 \
    GTX__HTTP__ADDRESS=0.0.0.0
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/gridtokenx-redis", "healthcheck"]
ENTRYPOINT ["/gridtokenx-redis"]
CMD ["serve"]
