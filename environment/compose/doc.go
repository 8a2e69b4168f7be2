// Package compose owns the way from Compose files to an environment's plan.
//
// Reading, interpolation, merging, extends, include and profiles are the Compose
// specification's own library's (compose-go, which only this package imports).
// That library forgets where things were written and stops at the first mistake,
// so that this package walks the files first: it checks them against the
// specification's schema, interpolates them, and tells all problems at once, with
// file, line and column. Then it makes a plan.Draft of what the library merged.
//
// It refuses every key that it does not carry out, with what to do instead;
// nothing is ignored, but for names that begin with "x-", other than x-sandbox.
// Keys that change nothing in an environment are told as Ignored. docs/compose.md
// lists all keys; its table is that of attributes.go, and a test compares both with
// the specification's schema.
//
// The contents of secrets are never in a plan. They are not read here: only that
// their files and variables are there is checked.
package compose
