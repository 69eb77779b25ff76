"""Parts of single lesions: how each fades within itself. Modules of lesions from before this package are beside it."""
