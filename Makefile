# Everything goes through one virtual environment, made from setup.cfg and constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo-out
SHARED ?= ../shared
IMAGES ?= labelled-images
FLINK_HOME ?= .flink

.PHONY: demo flink-demo test test-flink test-flink-full test-s3 test-gs test-slow test-gpu check install system system-bench clean
# Every bench-... is a command, none is a file.
.PHONY: bench $(shell sed -n 's/^\(bench-[a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "imagebert-lait needs Python 3.11; set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,web,dev]'
	touch $@

demo: install           ## the main job, offline: pages in, recall out (about 10 minutes on 2 cores)
	$(BIN)/imagebert demo --out $(OUT)

test: install           ## the tests that take minutes, without services, network or GPU
	$(BIN)/python -m pytest

test-slow: install      ## the long ones: kill points, flickr8k, learning
	$(BIN)/python -m pytest -m "slow and not flink and not store"

test-gpu: install       ## the ones that need a GPU
	$(BIN)/python -m pytest -m gpu

flink-demo: install     ## the dataset build on a Flink cluster of this machine (Java 17, Maven), compared with one process
	$(BIN)/python -m deploy.demo --home $(FLINK_HOME)

test-flink: install     ## the build on Flink at parallelism 2 with a TaskManager killed; skipped where there is no Java
	IMAGEBERT_FLINK_HOME=$(abspath $(FLINK_HOME)) $(BIN)/python -m pytest -m "flink and not slow" tests/deploy

test-flink-full: install ## every parallelism, every kill, on 500 images (hours)
	IMAGEBERT_FLINK_HOME=$(abspath $(FLINK_HOME)) IMAGEBERT_FLINK_IMAGES=500 \
	  $(BIN)/python -m pytest -m flink tests/deploy

test-s3: install        ## on an S3 server of this machine that fails now and then (moto's; needs a package index): a whole build, kills (20 minutes)
	IMAGEBERT_S3_SERVER=$$($(BIN)/python -m benchmarks.peers moto)/bin/moto_server $(BIN)/python -m pytest -m store tests/stores -k s3

test-gs: install        ## the same on a Google Cloud Storage of this machine (fake-gcs-server, built with Go)
	test -x .stores/fake-gcs-server || GOBIN=$(abspath .stores) go install github.com/fsouza/fake-gcs-server@v1.56.1
	IMAGEBERT_GCS_SERVER=$(abspath .stores/fake-gcs-server) $(BIN)/python -m pytest -m store tests/stores -k gs

check: install          ## lint, types, import directions
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

bench: bench-yardstick bench-kill bench-politeness bench-sites   ## every figure the README quotes

bench-sites: install    ## the eight real sites: the funnel, time, memory
	$(BIN)/python -m benchmarks.sites --shared $(SHARED)

bench-yardstick: install ## precision and recall against the synthetic web's truth, seeds 2-6 and the second profile
	$(BIN)/python -m benchmarks.yardstick

bench-ablation: install ## what each rule is worth: every stage of the filter off in turn, against the synthetic web's truth
	$(BIN)/python -m benchmarks.ablation

bench-politeness: install ## 200 servers, 6 fetch shards, 2 workers: the closest two requests, by the servers' own log
	$(BIN)/python -m benchmarks.politeness

bench-kill: install     ## kill -9 at 20 seeded points a stage
	$(BIN)/python -m benchmarks.kill

bench-image-facts: install ## images a core-second: one decode, facts, hashes, the natural-image classifier
	$(BIN)/python -m benchmarks.image_facts --shared $(SHARED)

bench-near-duplicates: install ## near-duplicate images by kind of copy, against imagededup (needs a package index)
	$(BIN)/python -m benchmarks.near_duplicates --shared $(SHARED)

bench-aggregation: install ## the stage filter on a million rows with hot keys: time, shuffled bytes, memory (about 20 minutes)
	$(BIN)/python -m benchmarks.aggregation

bench-scale: install    ## what each stage costs as a build grows, rows alone, hot keys; SCALE="--images 100000 --rows 10000000" for more (an hour)
	$(BIN)/python -m benchmarks.scale $(SCALE)

bench-flink: install    ## a build on Flink beside the in-process runner; bytes exchanged, cost of an element (Java 17, Maven; about an hour)
	$(BIN)/python -m benchmarks.flink --home $(FLINK_HOME)

bench-scorer: install   ## the weak scorer on sites it never saw, by groups of features, against the prior (about 5 minutes)
	$(BIN)/python -m benchmarks.scorer --shared $(SHARED)

bench-quality: install  ## kept and rejected pairs of the real sites as a person read them (OUT: `benchmarks.sites --keep OUT`)
	$(BIN)/python -m benchmarks.quality --out $(OUT)

bench-natural: install  ## the natural-image classifier on sources it never saw (IMAGES: benchmarks.label_sources --to IMAGES)
	$(BIN)/python -m benchmarks.natural --root $(SHARED)/data --root $(IMAGES)

bench-captions: install ## texts a core-second: caption cleaning, rules, language
	$(BIN)/python -m benchmarks.captions --shared $(SHARED)

bench-train-gpu: install ## training and evaluation on a GPU against VisualBERT and BERT (needs one, and transformers)
	$(BIN)/python -m benchmarks.train_gpu --part all --reduced

bench-fetch: install    ## the stage images against img2dataset, a core each (about 15 minutes; needs root and `make system-bench`)
	$(BIN)/python -m benchmarks.fetch

bench-fetch-tls: install ## the fetcher alone over TLS, and pages with WARC, a CPU-second (root, nginx)
	$(BIN)/python -m benchmarks.fetch_tls

bench-dns: install        ## the stage images behind a slow, failing resolver, against img2dataset (root, nginx)
	$(BIN)/python -m benchmarks.dns

bench-commit: install     ## how long a commit of 256 MiB to a slow store stops the fetch loop
	$(BIN)/python -m benchmarks.commit

bench-fetch-memory: install ## memory of the fetch stage, 10,000 against 200,000 URLs (root, nginx)
	$(BIN)/python -m benchmarks.fetch_memory

bench-extraction: install ## megabytes of HTML a core-second, from stored pages to candidates
	$(BIN)/python -m benchmarks.extraction --shared $(SHARED)

bench-charset: install  ## pages of known encoding, none declared: who reads them, against chardet and charset-normalizer
	$(BIN)/python -m benchmarks.charset --shared $(SHARED)

bench-strangers: install ## programs of others read our shards (needs a package index; OUT: a finished dataset)
	$(BIN)/python -m benchmarks.strangers --shards $(OUT)

bench-read: install     ## samples a core-second through the index, u8 and f16 regions, against webdataset
	$(BIN)/python -m benchmarks.read

bench-claims: install   ## what the paper's ablations say, on drawn scenes with a small model, five seeds (about 45 minutes, goes on where it stopped)
	$(BIN)/python -m benchmarks.claims

bench-loader: install   ## training samples a core-second, from tars to finished packs, u8 and f16 regions, against webdataset
	$(BIN)/python -m benchmarks.loader

bench-first-batch: install ## seconds to the first pack wherever a run resumes, at ten million index rows (about 2 GB of disk)
	$(BIN)/python -m benchmarks.first_batch
bench-write: install    ## samples and megabytes a core-second into tars, from addresses, against webdataset and img2dataset (package index)
	$(BIN)/python -m benchmarks.write

bench-validate: install ## megabytes and samples a core-second that `shards validate --no-decode` checks
	$(BIN)/python -m benchmarks.validate

bench-regions: install  ## what u8 and f16 lose of region features; rows of region files a core-second
	$(BIN)/python -m benchmarks.regions

bench-object-store: install ## shards on an S3 server on loopback at 0 and 20 ms: read and written (needs Go)
	test -x .stores/gofakes3 || GOBIN=$(abspath .stores) go install github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0
	$(BIN)/python -m benchmarks.object_store --server $(abspath .stores/gofakes3)

bench-wat: install      ## a WAT file to image-text pairs, against cc2dataset (needs a package index)
	$(BIN)/python -m benchmarks.wat

system:                 ## the Debian packages that building fasttext needs (as root)
	apt-get update
	apt-get install -y --no-install-recommends make gcc g++ python3-dev

system-bench:           ## the Debian packages that bench-fetch needs (as root)
	apt-get update
	apt-get install -y --no-install-recommends nginx-light util-linux ca-certificates

clean:
	rm -rf $(VENV) build *.egg-info demo-out
