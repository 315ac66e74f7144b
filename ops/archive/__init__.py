"""`export` and `import`: images, the registry itself and boot assets, carried in one archive."""
