"""The fallback for Pulumi's Python language host."""
