// Package build owns the bundles that are made from an image in the store or from
// this host's root: their making, their mounts, their removal.
//
//	DIR/                          0711, the bundle
//	  config.json                 0600; a service's environment is nobody else's business
//	  bundle.json                 record: source, digests, method, secrets' origins
//	  rootfs/                     mounted: the store's layers, the bundle's files, what the sandbox writes
//	  etc/ volumes/NAME/          files that config.json binds; paths in it are meant from DIR
//	  secrets -> <state root>/secrets/<id>
//	<data root>/bundles/<id>/     upper, work, and the layer of a service's files
//	<data root>/bundles/unfinished/<id>.json, .lock
//
// Everything is made beside DIR and gets its name by one rename(2), complete.
// Before anything is made, a record of it is in unfinished/, and a lock beside it
// that ends with its holder; what a killed build or removal leaves is found by the
// next command (Sweep) and removed by the same function that a failed build calls.
//
// It refuses to build into a directory that is not empty, to remove a bundle that
// a container runs from, and to guess where a layer has gone. It knows nothing of
// registries: the caller says how an image comes into the store.
//
// A config.json depends on the image, the service and this kernel only: the same
// inputs give the same bytes, wherever DIR is. DIR must stay where it was built,
// since the store keeps the layers for that path.
package build
