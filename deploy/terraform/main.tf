# Uploads the package, and lets CloudFormation deploy its template. All resources of the mirror are
# in that stack, so that an update is made, or rolled back, as a whole.

data "aws_s3_bucket" "package" {
  bucket = var.bucket
}

locals {
  template = "${var.package}/dynamirror.template.json"
  # The template names its zips, whose names contain digests. The folder may hold those of other
  # versions, too.
  zip = jsondecode(file(local.template)).Metadata.Zips[var.architecture]
  # Serverless caches serve replica reads on the second port.
  serverless = var.existing_cache == null ? true : var.existing_cache.kind == "serverless"
  optional = {
    TableKeyArn   = var.table_key_arn
    AlarmTopicArn = var.alarm_topic_arn
    MirrorToml    = var.mirror_toml
    VpcId         = try(var.vpc.id, null)
    SubnetIds     = try(join(",", var.vpc.subnet_ids), null)

    CacheName            = try(var.existing_cache.name, null)
    CacheKind            = try(var.existing_cache.kind, null)
    CacheHost            = try(var.existing_cache.host, null)
    CachePort            = try(tostring(var.existing_cache.port), null)
    CacheUser            = try(var.existing_cache.user, null)
    CacheReaderUser      = try(var.existing_cache.reader_user, null)
    CacheSecurityGroupId = try(var.existing_cache.security_group_id, null)
  }
}

resource "aws_s3_object" "zip" {
  bucket      = var.bucket
  key         = "${var.prefix}${local.zip}"
  source      = "${var.package}/${local.zip}"
  source_hash = filemd5("${var.package}/${local.zip}")

  # An update that is rolled back needs the zip of the version before.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_s3_object" "template" {
  bucket      = var.bucket
  key         = "${var.prefix}${filesha256(local.template)}.template.json"
  source      = local.template
  source_hash = filemd5(local.template)

  lifecycle {
    create_before_destroy = true
  }
}

# Its key names its content, so that a change of the views changes the functions.
resource "aws_s3_object" "mirror_toml" {
  count = var.mirror_toml_zip == null ? 0 : 1

  bucket = var.bucket
  key    = "${var.prefix}${filesha256(var.mirror_toml_zip)}.zip"
  source = var.mirror_toml_zip

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudformation_stack" "mirror" {
  name         = "dynamirror-${var.name}"
  template_url = "https://${data.aws_s3_bucket.package.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM"]
  tags         = var.tags

  parameters = merge(
    { for name, value in local.optional : name => value if value != null },
    {
      MirrorName    = var.name
      StreamArn     = var.stream_arn
      KeyNames      = join(",", var.key_names)
      MirrorTomlKey = try(aws_s3_object.mirror_toml[0].key, "")
      S3Bucket      = aws_s3_object.zip.bucket
      S3Key         = aws_s3_object.zip.key
      Architecture  = var.architecture
      PublicCache   = tostring(var.public)
      Inspector     = tostring(var.inspector)
    },
  )

  lifecycle {
    precondition {
      condition     = !var.public || (var.vpc == null && var.existing_cache == null && length(var.application_security_group_ids) == 0)
      error_message = "public excludes vpc, existing_cache and application_security_group_ids."
    }
    precondition {
      condition     = var.mirror_toml == null || var.mirror_toml_zip == null
      error_message = "mirror_toml excludes mirror_toml_zip."
    }
    precondition {
      condition     = var.existing_cache == null || var.vpc != null
      error_message = "existing_cache needs vpc, the VPC of the cache."
    }
  }
}

# Rules of their own, so that the groups may be made in the same run.
resource "aws_vpc_security_group_ingress_rule" "application" {
  count = length(var.application_security_group_ids)

  security_group_id            = aws_cloudformation_stack.mirror.outputs["CacheSecurityGroupId"]
  referenced_security_group_id = var.application_security_group_ids[count.index]
  description                  = "applications"
  ip_protocol                  = "tcp"
  from_port                    = tonumber(aws_cloudformation_stack.mirror.outputs["CachePort"])
  to_port                      = tonumber(aws_cloudformation_stack.mirror.outputs["CachePort"]) + (local.serverless ? 1 : 0)
}
