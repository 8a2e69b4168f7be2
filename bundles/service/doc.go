// Package service owns the description of one service as people write it, and
// its way to a runtime-spec configuration.
//
// Service is a plain value with the words of the Compose specification's service
// element. Read makes one from YAML; other programs may make one by other means.
// Plan is a function of a Service, an image's configuration and the account files
// of a root filesystem: it gives a specs.Spec and the files that the bundle has to
// have, and touches neither disk nor kernel, but for the kernel's version, on which
// the default seccomp profile depends. Same input, same plan.
//
// It refuses what it does not know and what a single bundle cannot have (ports,
// networks, depends_on), with file, line, column and the nearest known word. Nothing that is
// written is ignored, except names that begin with "x-", as the Compose
// specification asks.
//
// An image's configuration is merged as docker does (moby, runconfig/merge.go,
// oci/namespaces_linux.go); docs/bundles.md lists where a bundle differs.
//
// The content of secrets is never in a Service or Plan, only where it is to be
// had from.
package service
