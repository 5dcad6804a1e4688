output "stack_name" {
  description = "Name of the stack, for `dynamirror --via`."
  value       = aws_cloudformation_stack.mirror.name
}

output "endpoint" {
  description = "Address of the cache, as HOST:PORT."
  value       = aws_cloudformation_stack.mirror.outputs["CacheEndpoint"]
}

output "cache_name" {
  description = "Name of the cache, which IAM tokens are signed for."
  value       = aws_cloudformation_stack.mirror.outputs["CacheName"]
}

output "security_group_id" {
  description = "Security group of the cache; null for a public one."
  value       = try(aws_cloudformation_stack.mirror.outputs["CacheSecurityGroupId"], null)
}

output "vpc_id" {
  description = "VPC of the cache; null for a public one."
  value       = try(aws_cloudformation_stack.mirror.outputs["VpcId"], null)
}

output "reader_user" {
  description = "User that applications connect as."
  value       = aws_cloudformation_stack.mirror.outputs["ReaderUser"]
}

output "reader_policy_arn" {
  description = "Managed policy that allows a role to connect as that user."
  value       = aws_cloudformation_stack.mirror.outputs["ReaderPolicyArn"]
}
