# steer-anomaly on a CPU: an unprivileged user, a root file system that may be read-only, everything that changes in /data.
#
#   docker build -t steer-anomaly --build-arg TORCH="OPTIONS" .
#
# OPTIONS is what the selector on pytorch.org shows for "Linux, Pip, CPU" after `torch torchvision`; without it pip brings
# 6.4 GB of CUDA libraries that a CPU never uses. docs/line.md has the Compose file, and what to do instead of `serve`.
FROM python:3.12-slim AS build
ARG TORCH=""
RUN python -m venv /opt/steer-anomaly
ENV PATH=/opt/steer-anomaly/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN pip install torch torchvision $TORCH
WORKDIR /source
COPY . .
RUN pip install ".[line,serve]" && python -m compileall -q /opt/steer-anomaly

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data line \
    && install -d -o line -g line /data /data/profiles
COPY --from=build /opt/steer-anomaly /opt/steer-anomaly
# Caches of libraries are for nothing here; what they insist on writing goes where it is thrown away.
ENV PATH=/opt/steer-anomaly/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/tmp/cache HF_HOME=/tmp/cache/huggingface HF_HUB_OFFLINE=1
USER line
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Inside a container the service listens to all addresses, so it has to have a token: docs/line.md.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["steer-anomaly"]
CMD ["serve", "--profiles", "/data/profiles", "--host", "0.0.0.0", "--token-file", "/run/secrets/token"]
