// Package imports holds the arrows between the project's packages (docs/architecture.md): which package may import which
// of ours, and which third-party library belongs to which package. Its test loads every package of the module, tests
// included, with the build's own tags.
//
// depguard says the same at the line (.golangci.yml). This package is the one that is run by `make test` and that knows
// all packages at once: a new top-level folder has no arrows until it is entered here.
package imports
