# redis-server with redisai-py, for the CPU:
#
#     docker build -t redisai-py .
#     docker run -p 127.0.0.1:6379:6379 redisai-py
#
# with other frameworks, which pip installs:
#
#     docker build -t redisai-py --build-arg FRAMEWORKS="onnxruntime torch" .
#
# and for GPUs of NVIDIA, with the CUDA that the frameworks' packages bring:
#
#     docker build -t redisai-py:cuda --build-arg FRAMEWORKS="onnxruntime-gpu[cuda,cudnn]" .
#     docker run --gpus all -p 127.0.0.1:6379:6379 redisai-py:cuda
#
# BASE may be any Debian or Ubuntu with Python 3.10 or later and Redis 6.2 or later.

ARG BASE=debian:12-slim

FROM ${BASE} AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev python3-dev python3-venv
WORKDIR /source
COPY . .
RUN python3 -m venv /tools && /tools/bin/pip wheel --no-deps --wheel-dir /wheels .

FROM ${BASE}
ARG FRAMEWORKS=onnxruntime
ENV DEBIAN_FRONTEND=noninteractive
# A distribution's python3 has no libpython in it: the module opens the shared one, a package of its own.
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends python3-venv redis-server \
    && version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
    && apt-get install -q -y --no-install-recommends "libpython${version}" \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN python3 -m venv /opt/redisai && /opt/redisai/bin/pip install --no-cache-dir /wheels/*.whl ${FRAMEWORKS}
ENV PATH=/opt/redisai/bin:${PATH}
RUN mkdir -p /data && chown redis:redis /data
USER redis
WORKDIR /data
VOLUME /data
EXPOSE 6379
# Whoever may reach the port may do everything: publish it to 127.0.0.1 only, or give a redis.conf with users.
ENTRYPOINT ["redisai-server"]
CMD ["--bind", "0.0.0.0", "--protected-mode", "no"]
