// Package pack owns the way from files to a layer: the tar stream of a directory
// or of one static program, the same bytes for the same files, so that its digest
// names what is in it.
//
// It refuses sockets and what changes while it is read. It follows no link and
// opens nothing by a joined path.
package pack
