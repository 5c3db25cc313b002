# syntax=docker/dockerfile:1
# Lateron in a container. See docs/deploy.md for how it is run, and for what of this was tried where.
# Pin the base by digest in a release: `docker buildx imagetools inspect python:3.13-slim-bookworm` shows it.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src ./src
RUN ["python", "-m", "venv", "/opt/lateron"]
RUN ["/opt/lateron/bin/pip", "install", "--no-cache-dir", "--only-binary=:all:", "."]
RUN ["/opt/lateron/bin/pip", "uninstall", "--yes", "pip"]
RUN ["mkdir", "--mode=0700", "/data"]

FROM ${BASE}
COPY --from=build /opt/lateron /opt/lateron
COPY --from=build --chown=10001:10001 /data /data
ENV PATH=/opt/lateron/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    LATERON_HOST=0.0.0.0,:: \
    LATERON_DATA_DIR=/data
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["lateron", "health", "http://127.0.0.1:8080"]
ENTRYPOINT ["lateron"]
CMD ["serve"]
