package cgroup

import "errors"

// Usage is what a group takes up at this moment, groups below included: bytes of
// memory, page cache and kernel memory with it, and processes and threads. nil is
// what no controller tells.
type Usage struct {
	MemoryBytes *uint64 `json:"memory_bytes"`
	Pids        *uint64 `json:"pids"`
}

// Usage reads two small files. The figures of a removed group are nil.
func (g *Group) Usage() (Usage, error) {
	var u Usage
	err := g.readUintInto(&u.MemoryBytes, g.file("memory", "memory.usage_in_bytes", "memory.current"))
	return u, errors.Join(err, g.readUintInto(&u.Pids, g.file("pids", "pids.current", "pids.current")))
}
