# Not Alpine, because fs-native-extensions (the lock of the embedded database) has no build for musl.
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY src/package.json src/package.json
# Only the packages of the bundle, and esbuild, which compiles: CI has checked the types.
RUN npm ci --ignore-scripts --workspace=src
COPY tsconfig.json tsconfig.json
COPY docs docs
COPY migrations migrations
COPY scripts scripts
COPY src src
RUN npm run bundle

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --omit=dev --workspaces=false

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="kener-api" \
      org.opencontainers.image.licenses="MIT"
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    DATA_DIR=/data
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
# No VOLUME, which creates an anonymous volume for each container, also for those that use a PostgreSQL server.
RUN mkdir /data && chown node:node /data && ln -s /app/dist/src/bundle/cli.js /usr/local/bin/kener-api
USER node
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --retries=5 CMD node -e "fetch('http://127.0.0.1:' + (process.env.PORT || 3000) + '/healthz').then((reply) => process.exit(reply.ok ? 0 : 1), () => process.exit(1))"
CMD ["node", "--max-semi-space-size=8", "--max-old-space-size=384", "dist/src/bundle/server.js"]
