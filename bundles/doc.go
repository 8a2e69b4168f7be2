// Package bundles owns the OCI bundle on disk: a directory with a config.json
// (runtime-spec 1.3) and, usually, the root filesystem it names.
//
// It loads a bundle (Load), decodes and validates its configuration with errors
// that name the JSON path at fault (Decode, Validate, SpecError), makes the
// default configuration (Default, Rootless, Option) and writes it (Write).
// Decode and Validate are pure: they touch neither the file system nor the
// kernel, so the same document is judged alike on every machine. What depends on
// the machine (is the root filesystem there? has this kernel the controller?) is
// the business of rootfs, cgroup and runtime.
//
// The package refuses documents it can't use as a whole. It ignores members it
// doesn't know, as the specification demands ("Extensibility", config.md), and
// reads JSON as runc does with encoding/json: names match without regard to
// case, the last of two equal names wins, null means absent.
//
// Nothing here is shared between calls; all functions are safe for concurrent
// use as long as two of them don't change the same *specs.Spec.
package bundles
