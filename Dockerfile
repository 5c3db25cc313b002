# Lateron as an image: no shell, no package manager, not root, one directory to write to. How to run it: docs/containers.md.
# Pin both images by digest in your own pipeline (--build-arg BUILD=python@sha256:..., --build-arg RUN=...).
ARG BUILD=python:3.11-slim-bookworm
ARG RUN=gcr.io/distroless/python3-debian12:nonroot

FROM ${BUILD} AS build
WORKDIR /source
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --target /lateron --requirement requirements.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src src
RUN pip install --no-cache-dir --no-deps --target /lateron . && mkdir /data

# Debian 12's Python 3.11, the C library and nothing else.
FROM ${RUN}
LABEL org.opencontainers.image.title="Lateron" \
      org.opencontainers.image.description="A self-hosted HTTP message queue and scheduler, compatible with the QStash API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/lateron/lateron"
COPY --from=build /lateron /lateron
COPY --from=build --chown=65532:65532 /data /data
ENV PYTHONPATH=/lateron PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
  CMD ["/usr/bin/python3.11", "-m", "lateron", "health", "http://127.0.0.1:8080"]
ENTRYPOINT ["/usr/bin/python3.11", "-m", "lateron"]
CMD ["serve", "--host", "0.0.0.0", "--data-dir", "/data"]
