# The service alone: no PyTorch, no training code. `docker build -t tapehead .`

FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY tapehead tapehead
COPY service service
RUN python -m venv /opt/tapehead && /opt/tapehead/bin/pip install --no-cache-dir '.[service]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/tapehead --create-home tapehead
COPY --from=build /opt/tapehead /opt/tapehead
COPY models /srv/models
COPY LICENSE NOTICE /srv/

# Inside a container the outside decides who may come in, so both ports listen on every interface. Nobody is asked who
# they are: publish the ports to places that you trust, and nowhere else.
ENV PATH=/opt/tapehead/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TAPEHEAD_INSECURE=true \
    TAPEHEAD_ADDRESS=0.0.0.0:8001 \
    TAPEHEAD_METRICS_ADDRESS=0.0.0.0:8002 \
    TAPEHEAD_MODELS=/srv/models \
    TAPEHEAD_STORE=lmdb:/var/lib/tapehead/sessions
USER tapehead
WORKDIR /srv
VOLUME /var/lib/tapehead
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8002/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "service"]
