# Reports the status of a monitor: kener_report TAG UP|DEGRADED|DOWN|MAINTENANCE [LATENCY_MS]
# Needs curl 7.71 or newer, KENER_URL such as https://status.example.com, and KENER_API_KEY with write:monitors.
kener_report() {
  local response
  # The key is not an argument, because other users of the machine see those. With a timestamp, a repeated report is the same
  # report. 429 and 503 are repeated after their Retry-After, and requests without a response.
  response=$(printf 'Authorization: Bearer %s\n' "$KENER_API_KEY" |
    curl --silent --show-error --max-time 20 --retry 5 --retry-all-errors --retry-max-time 180 \
      --header @- --header 'Content-Type: application/json' --write-out '\n%{http_code}' \
      --data "{\"status\": \"$2\", \"timestamp\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"${3:+, \"latency_ms\": $3}}" \
      "$KENER_URL/api/monitors/$1/data")
  case $response in
    *2[0-9][0-9]) ;;
    *)
      echo "kener_report: $response" >&2
      return 1
      ;;
  esac
}
