# The image that trains: PyTorch with CUDA (several GB), apart from the server's. From the top of the checkout:
#   docker build -f docker/train.Dockerfile -t synpose-train .
#   docker run --rm --gpus all -v "$PWD:/work" synpose-train examples/training/small.toml --data examples/training
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY client client
COPY model model
COPY server server
COPY examples/balancing examples/balancing
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/synpose \
    && pip --python /opt/synpose install "$(echo /wheels/*.whl)[server,cpu,train,datasets]"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Synpose training" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
RUN useradd --uid 10001 --create-home synpose
COPY LICENSE NOTICE model/synpose_model/bundles/NOTICE.md /usr/share/licenses/synpose/
COPY --from=wheel /opt/synpose /opt/synpose
ENV PATH=/opt/synpose/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["synpose", "train"]
CMD ["--help"]
