variable "name" {
  description = "Name of the mirror, which is part of the names of its stack, its cache and its users."
  type        = string

  validation {
    condition     = length(var.name) <= 15 && can(regex("^[a-z](-?[a-z0-9])*$", var.name))
    error_message = "name must be up to 15 lower-case letters, digits and single dashes, a letter first."
  }
}

variable "package" {
  description = "Folder that `make package` wrote: the template and the zips."
  type        = string

  validation {
    condition     = fileexists("${var.package}/dynamirror.template.json")
    error_message = "package must be the folder that `make package` wrote, with dynamirror.template.json."
  }
}

variable "bucket" {
  description = "Name of a bucket of the region of the mirror, to which the module uploads the package."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must be the name of a bucket, without s3://."
  }
}

variable "prefix" {
  description = "Prefix of the keys of the package in the bucket."
  type        = string
  default     = "dynamirror/"
}

variable "architecture" {
  description = "Processor architecture of the functions: arm64 or x86_64."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "stream_arn" {
  description = "ARN of the stream of the table, whose view type is NEW_AND_OLD_IMAGES."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:dynamodb:[^:]+:[0-9]{12}:table/[A-Za-z0-9_.-]{3,255}/stream/.+$", var.stream_arn))
    error_message = "stream_arn must be an ARN like arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/TIME."
  }
}

variable "key_names" {
  description = "Names of the key attributes of the table, partition key first."
  type        = list(string)

  validation {
    condition     = contains([1, 2], length(var.key_names)) && length(distinct(var.key_names)) == length(var.key_names)
    error_message = "key_names must hold one name, or two different ones."
  }

  validation {
    condition     = alltrue([for name in var.key_names : can(regex("^[^\\s\",{\\\\]{1,255}$", name))])
    error_message = "key_names must hold names without spaces, quotes, commas, braces and backslashes."
  }
}

variable "table_key_arn" {
  description = "ARN of the customer-managed KMS key of the table; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.table_key_arn == null ? true : can(regex("^arn:[^:]+:kms:[^:]*:[^:]*:key/.+$", var.table_key_arn))
    error_message = "table_key_arn must be an ARN like arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "mirror_toml" {
  description = "Text of a mirror.toml with the views of the table; null for the default view."
  type        = string
  default     = null

  validation {
    condition     = length(coalesce(var.mirror_toml, "-")) <= 2500
    error_message = "mirror_toml must have up to 2,500 characters; give a longer one in mirror_toml_zip."
  }
}

variable "mirror_toml_zip" {
  description = "Path of a zip that holds a longer mirror.toml; null for none."
  type        = string
  default     = null
}

variable "vpc" {
  description = "Existing VPC, and two or three of its subnets, each in its own zone; null for a new VPC."
  type = object({
    id         = string
    subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.vpc == null ? true : contains([2, 3], length(var.vpc.subnet_ids))
    error_message = "vpc.subnet_ids must hold two or three subnets."
  }
}

variable "public" {
  description = "Whether to do without a VPC: a cache with a public endpoint, which admits IAM users only."
  type        = bool
  default     = false
}

variable "application_security_group_ids" {
  description = "Security groups of the applications that may connect to the cache."
  type        = list(string)
  default     = []
}

variable "existing_cache" {
  description = "Existing cache in the VPC, whose users authenticate with IAM; null for a new one."
  type = object({
    name              = string
    kind              = optional(string, "serverless")
    host              = string
    port              = optional(number, 6379)
    user              = string
    reader_user       = string
    security_group_id = string
  })
  default = null

  validation {
    condition     = var.existing_cache == null ? true : contains(["serverless", "node-based"], var.existing_cache.kind)
    error_message = "existing_cache.kind must be serverless or node-based."
  }

  validation {
    condition     = var.existing_cache == null ? true : var.existing_cache.kind != "serverless" || var.existing_cache.port == 6379
    error_message = "existing_cache.port must be 6379 for a serverless cache."
  }

  validation {
    condition     = var.existing_cache == null ? true : var.existing_cache.reader_user != var.existing_cache.user
    error_message = "existing_cache.reader_user must be another user than the one that writes."
  }
}

variable "inspector" {
  description = "Whether an inspector asks the cache for a share of all changes."
  type        = bool
  default     = false
}

variable "alarm_topic_arn" {
  description = "ARN of the SNS topic that alarms notify; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null ? true : can(regex("^arn:[^:]+:sns:[^:]*:[^:]*:[^:]+$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be an ARN like arn:aws:sns:REGION:ACCOUNT:NAME."
  }
}

variable "tags" {
  description = "Tags of the stack, which CloudFormation gives to its resources."
  type        = map(string)
  default     = {}
}
