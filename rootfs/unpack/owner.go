package unpack

import (
	"encoding/binary"
	"fmt"
	"math"
)

// owner maps the layer's owner of an entry to this host's.
func (o *Options) owner(uid, gid int) (hostUID, hostGID int, reason string) {
	u, reason := mapID(o.UIDs, uid, "user")
	if reason != "" {
		return 0, 0, reason
	}
	g, reason := mapID(o.GIDs, gid, "group")
	return u, g, reason
}

func mapID(maps []IDMap, id int, kind string) (int, string) {
	// 2^32-1 means "leave it as it is" to chown(2).
	if id < 0 || int64(id) >= math.MaxUint32 {
		return 0, fmt.Sprintf("%s ID %d is out of range", kind, id)
	}
	if len(maps) == 0 {
		return id, ""
	}
	for _, m := range maps {
		if uint32(id) >= m.Inside && uint32(id)-m.Inside < m.Size {
			outside := int64(m.Outside) + int64(uint32(id)-m.Inside)
			if outside >= math.MaxUint32 {
				break
			}
			return int(outside), ""
		}
	}
	return 0, fmt.Sprintf("%s ID %d is not in the ID map", kind, id)
}

// Revisions and sizes of the xattr security.capability (include/uapi/linux/capability.h).
const (
	capRevisionMask = 0xff000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
	capSize2        = 20
	capSize3        = 24
)

// mapCapability makes a file capability valid in the user namespace that the
// layer's owners are mapped to, and there only: one without root ID would count on the
// host.
func (o *Options) mapCapability(value []byte) ([]byte, bool) {
	if len(o.UIDs) == 0 || o.OwnAll {
		return value, true
	}
	if len(value) < capSize2 {
		return nil, false
	}
	magic := binary.LittleEndian.Uint32(value)
	inside := 0
	switch {
	case magic&capRevisionMask == capRevision2 && len(value) == capSize2:
	case magic&capRevisionMask == capRevision3 && len(value) == capSize3:
		inside = int(binary.LittleEndian.Uint32(value[capSize2:]))
	default:
		return nil, false
	}
	root, reason := mapID(o.UIDs, inside, "user")
	if reason != "" {
		return nil, false
	}
	mapped := make([]byte, capSize3)
	copy(mapped, value[:capSize2])
	binary.LittleEndian.PutUint32(mapped, magic&^capRevisionMask|capRevision3)
	binary.LittleEndian.PutUint32(mapped[capSize2:], uint32(root))
	return mapped, true
}
