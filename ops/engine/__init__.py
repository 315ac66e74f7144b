"""What this project needs of the Pulumi engine: its command line, and the state that it keeps."""
