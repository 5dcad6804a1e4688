# A table, its mirror, and an application whose role and security group may read from the cache.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "bucket" {
  description = "Bucket for the package."
  type        = string
}

variable "vpc" {
  description = "VPC of the application, and two or three of its subnets with a way to DynamoDB."
  type = object({
    id         = string
    subnet_ids = list(string)
  })
}

resource "aws_dynamodb_table" "orders" {
  name             = "orders"
  billing_mode     = "PAY_PER_REQUEST"
  hash_key         = "customer"
  range_key        = "order"
  stream_enabled   = true
  stream_view_type = "NEW_AND_OLD_IMAGES"

  attribute {
    name = "customer"
    type = "S"
  }

  attribute {
    name = "order"
    type = "S"
  }
}

resource "aws_security_group" "application" {
  name_prefix = "orders-application-"
  vpc_id      = var.vpc.id

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_iam_role" "application" {
  name_prefix = "orders-application-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
    }]
  })
}

module "mirror" {
  source = "../"

  name       = "orders"
  package    = "${path.module}/../../../dist"
  bucket     = var.bucket
  stream_arn = aws_dynamodb_table.orders.stream_arn
  key_names  = ["customer", "order"]
  vpc        = var.vpc

  application_security_group_ids = [aws_security_group.application.id]
}

resource "aws_iam_role_policy_attachment" "reader" {
  role       = aws_iam_role.application.name
  policy_arn = module.mirror.reader_policy_arn
}

output "environment" {
  description = "Environment variables of the application, for `Reader.from_env`."
  value = {
    ELASTICACHE_HOST = split(":", module.mirror.endpoint)[0]
    ELASTICACHE_NAME = module.mirror.cache_name
    ELASTICACHE_USER = module.mirror.reader_user
    DYNAMODB_TABLE   = aws_dynamodb_table.orders.name
  }
}
