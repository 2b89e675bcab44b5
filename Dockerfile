# One image for every role: the Beam worker, the trainer and the synthetic web.
# docker build --build-arg EXTRAS=web .     a crawl, filter and shards worker without torch
FROM python:3.11-slim-bookworm
ARG EXTRAS=train,web
# More Debian packages: "openjdk-17-jre-headless maven" for the processes of a Flink cluster (docker-compose.yml)
ARG SYSTEM=
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ make $SYSTEM && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/imagebert
COPY setup.cfg setup.py pyproject.toml constraints.txt README.md imagebert.py ./
COPY crawl crawl
COPY filter filter
COPY shards shards
COPY model model
COPY train train
COPY demo demo
COPY deploy deploy
RUN pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]" && useradd --create-home imagebert && install -d -o imagebert /data /opt/flink
USER imagebert
# Flink and the job server, where there is a Java to run them
RUN if command -v java; then python -m deploy.flink install --home /opt/flink; fi
ENTRYPOINT ["imagebert"]
