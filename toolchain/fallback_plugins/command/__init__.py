"""The fallback for Pulumi's command plugin."""
