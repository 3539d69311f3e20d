# Creates, updates and deletes monitors with curl, without a provider. The key is read from the environment variable
# KENER_API_KEY, so that it is not stored in the state. It needs write:monitors and delete:monitors.
terraform {
  required_version = ">= 1.4"
}

variable "kener_url" {
  type        = string
  description = "Address of the service, such as https://status.example.com"
}

variable "monitors" {
  # Not map(any), which would convert the fields of monitors with different fields to strings.
  type        = any
  description = "The fields of each monitor, by tag"
}

# A resource of its own, so that a changed field does not delete the monitor and its data.
resource "terraform_data" "monitor" {
  for_each = var.monitors
  input    = { url = "${var.kener_url}/api/monitors/${each.key}" }

  provisioner "local-exec" {
    when        = destroy
    environment = { URL = self.input.url }
    command     = "curl -sS --fail-with-body --retry 5 -X DELETE -H \"Authorization: Bearer $KENER_API_KEY\" \"$URL\""
  }
}

resource "terraform_data" "fields" {
  for_each         = var.monitors
  triggers_replace = [terraform_data.monitor[each.key].output.url, each.value]

  provisioner "local-exec" {
    environment = { URL = terraform_data.monitor[each.key].output.url, BODY = jsonencode(each.value) }
    command     = <<-EOT
      curl -sS --fail-with-body --retry 5 -X PUT -H "Authorization: Bearer $KENER_API_KEY" \
        -H 'Content-Type: application/json' -d "$BODY" "$URL"
    EOT
  }
}
