# Two images, with the versions that were tested together (constraints.txt): docs/servers.md.
#   docker build --target worker .                                                    CPU
#   docker build --target worker --build-arg TORCH_INDEX=https://pypi.org/simple .    CUDA
FROM python:3.11.14-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=true PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true \
    HF_HUB_DISABLE_TELEMETRY=1 GX_ANALYTICS_ENABLED=false RAY_USAGE_STATS_ENABLED=0
RUN useradd --uid 1000 --create-home gradgate
WORKDIR /build

# The servers of Prefect and MLflow, without torch.
FROM base AS servers
COPY constraints.txt ./
RUN pip install --constraint constraints.txt prefect fastapi mlflow boto3 "psycopg[binary]"
USER 1000
WORKDIR /home/gradgate

FROM base AS worker
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --index-url "$TORCH_INDEX" torch
COPY . .
RUN pip install --constraint constraints.txt ".[pipeline,peers,s3]" \
    && gradgate unpack /gradgate \
    && install --directory --owner=gradgate /state
ENV GRADGATE_HOME=/gradgate GRADGATE_STATE_DIR=/state HF_HOME=/state/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib
USER 1000
WORKDIR /gradgate
VOLUME /state
CMD ["gradgate", "--help"]
