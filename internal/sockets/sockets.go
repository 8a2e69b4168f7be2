package sockets

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Socket is one that waits for others: a listening TCP socket, or a UDP socket
// without a peer.
type Socket struct {
	Local netip.AddrPort
	Inode uint64
}

// Process is one that holds a socket.
type Process struct {
	Pid  int
	Name string // as in /proc/PID/comm
}

// String is "nginx (process 12)".
func (p Process) String() string { return fmt.Sprintf("%s (process %d)", p.Name, p.Pid) }

// The states of net/tcp_states.h that wait for others.
const (
	tcpListen      = 0x0A
	udpUnconnected = 0x07
)

// Waiting returns the sockets of a protocol, "tcp" or "udp", of both families, that
// wait for others.
func Waiting(protocol string) ([]Socket, error) {
	state := uint64(tcpListen)
	if protocol == "udp" {
		state = udpUnconnected
	}
	var all []Socket
	for _, path := range []string{"/proc/net/" + protocol, "/proc/net/" + protocol + "6"} {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		found, err := parse(file, state)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// parse reads a table as in proc_net(5) and returns the sockets in the given state.
func parse(r io.Reader, state uint64) ([]Socket, error) {
	var found []Socket
	scanner := bufio.NewScanner(r)
	scanner.Scan() // the heading
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 10 {
			return nil, fmt.Errorf("line %q: %d fields", scanner.Text(), len(fields))
		}
		is, err := strconv.ParseUint(fields[3], 16, 8)
		if err != nil {
			return nil, fmt.Errorf("state %q: %w", fields[3], err)
		}
		if is != state {
			continue
		}
		local, err := parseAddress(fields[1])
		if err != nil {
			return nil, err
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("inode %q: %w", fields[9], err)
		}
		found = append(found, Socket{Local: local, Inode: inode})
	}
	return found, scanner.Err()
}

// parseAddress reads "0100007F:1F90": the address is in words of the host's byte
// order, the port is not.
func parseAddress(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(address)
	if err != nil || len(words) != 4 && len(words) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q is malformed", text)
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q is malformed: %w", text, err)
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	ip, _ := netip.AddrFromSlice(words)
	return netip.AddrPortFrom(ip, uint16(number)), nil
}

// Conflicts returns those of list that keep a new socket from being bound to
// address: same port, and same address or a wildcard on one side.
func Conflicts(list []Socket, address netip.AddrPort) []Socket {
	return slices.DeleteFunc(slices.Clone(list), func(s Socket) bool {
		if s.Local.Port() != address.Port() {
			return true
		}
		theirs, ours := s.Local.Addr().Unmap(), address.Addr().Unmap()
		// A socket on [::] has the IPv4 port too, unless it is for IPv6 alone, which nothing in /proc tells.
		dual := theirs == netip.IPv6Unspecified()
		if theirs.Is4() != ours.Is4() && !dual {
			return true
		}
		return theirs != ours && !theirs.IsUnspecified() && !ours.IsUnspecified()
	})
}

// Holders returns the processes that hold any of the sockets, in rising order. Those
// of other users are seen by root alone.
func Holders(list []Socket) ([]Process, error) {
	if len(list) == 0 {
		return nil, nil
	}
	wanted := map[string]bool{}
	for _, s := range list {
		wanted["socket:["+strconv.FormatUint(s.Inode, 10)+"]"] = true
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var holders []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !holdsAny("/proc/"+e.Name()+"/fd", wanted) {
			continue
		}
		name, err := os.ReadFile("/proc/" + e.Name() + "/comm")
		if err != nil {
			continue // it has ended
		}
		holders = append(holders, Process{Pid: pid, Name: strings.TrimSpace(string(name))})
	}
	slices.SortFunc(holders, func(a, b Process) int { return a.Pid - b.Pid })
	return holders, nil
}

// holdsAny is false for a process that has ended or is not ours to look at.
func holdsAny(fdDir string, wanted map[string]bool) bool {
	entries, err := os.ReadDir(fdDir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if target, err := os.Readlink(fdDir + "/" + e.Name()); err == nil && wanted[target] {
			return true
		}
	}
	return false
}
