# The server. It listens beyond loopback only if whoever runs it says who may come in: AUTH_SECRET or AUTH_JWKS_URL, so
# that it asks for tokens, or ALLOW_ANONYMOUS=1. The image says neither, and without them the start ends with one line
# that tells so.

FROM python:3.12-slim-bookworm AS builder

COPY requirements/runtime.txt /build/
# No compiler: all are wheels, libvips among them (pyvips-binary), but for pyvips itself, which builds to pure Python.
RUN python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --require-hashes --no-cache-dir --disable-pip-version-check \
        -r /build/runtime.txt


FROM python:3.12-slim-bookworm

LABEL org.opencontainers.image.title="image-service" \
      org.opencontainers.image.description="An image back end: upload, list and filter pictures, hand out links." \
      org.opencontainers.image.version="0.1.0"

# By number, so that Kubernetes can tell that it is not root. A new volume takes over the owner of /data.
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data

COPY --from=builder /opt/venv /opt/venv
WORKDIR /app
COPY src/ src/
# Who runs it can't write here, so it is compiled now; by hash, since a builder may set other times on the files. A
# checkout under a strict umask would be readable for root alone.
RUN chmod -R a+rX src \
    && python -m compileall -q --invalidation-mode unchecked-hash src

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=8000

VOLUME /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM

# Without proxies: Docker hands the ones of its configuration to every container, and urllib would ask them.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from os import environ; from urllib.request import *; build_opener(ProxyHandler({})).open(f'http://127.0.0.1:{environ.get(\"PORT\") or 8000}/healthz', timeout=4).close()"]

ENTRYPOINT ["python", "-m", "src"]
CMD ["serve"]
