// Package environments owns how tests run environments with the program
// (`sandboxrun env …`), in roots of their own, and what of an environment there
// may be on the host: its processes, control groups and mounts, its files and
// leases, and its half of egress.
//
// An environment is recognised by its whole name, or those of a test by what
// begins all their names, which are nobody else's.
//
// It is for tests alone; test/imports holds that.
package environments
