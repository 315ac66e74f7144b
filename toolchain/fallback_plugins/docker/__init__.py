"""The fallback for Pulumi's docker plugin."""
