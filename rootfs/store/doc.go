// Package store owns the content store below --data-root: blobs by digest, layers
// unpacked once, and images by reference.
//
//	<data root>/                  0700  /var/lib/sandboxrun; $XDG_DATA_HOME/sandboxrun for other users
//	  store.json                        {"version":1}
//	  blobs/sha256/<hex>          0400  verified before it has its name
//	  partial/<hex>                     downloads to go on with, each with <hex>.lock
//	  layers/<hex>/fs/                  the unpacked tree, shared read-only by all who mount it
//	  layers/<hex>/layer.json           record; the directory has its name only when it is complete
//	  images/<hex of reference>.json    reference → manifest digest
//	  leases/<hex of name>.json         what a bundle uses, until it is released or the bundle is gone
//	  tmp/<random>/                     what is being made
//	  locks/
//
// Everything gets its name by rename(2), complete, so that a process that is killed
// at any moment leaves nothing but files in tmp/ and partial/. Readers take no
// lock. Who adds holds locks/writers shared, and Prune and Fsck exclusively;
// two who unpack the same layer meet at that layer's lock.
//
// Power cuts: nothing is fsynced while a layer is unpacked, since that doubles the
// time. A layer's record has the boot ID of its making and says whether Settle has
// flushed it since. A layer of an earlier boot that was never settled is not
// trusted, and made again from its blob, which is verified when it is read.
//
// It refuses a store of a newer version (ErrNewer), a data root that others may
// write to, and names that are not digests. It knows nothing of registries, and
// nothing of what a layer contains.
package store
