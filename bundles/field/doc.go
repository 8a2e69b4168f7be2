// Package field owns single fields of a config.json, by their JSON path: Set
// changes them as a command line says, Diff tells in which of them two documents
// differ.
//
// A path has member names joined by dots, array indexes in brackets, and in brackets
// and quotes a name that is no plain word, as in bundles.SpecError:
// process.args[0], linux.sysctl["net.ipv4.ip_forward"].
//
// It refuses names that runtime-spec does not define and values of another type
// than the field's, and names the path. It judges no content: that is
// bundles.Validate's.
package field
