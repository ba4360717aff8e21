FROM python:3.13-slim
WORKDIR /srv/wabajobs
COPY pyproject.toml constraints.txt README.md ./
COPY src ./src
COPY workers ./workers
RUN pip install --no-cache-dir --constraint constraints.txt . && useradd --system wabajobs
USER wabajobs
ENTRYPOINT []
CMD ["wabajobs", "--help"]
