package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// A checkpointed program has the parent death signal in its image that it had
// when it was saved: SIGKILL if it was supervised, none if it was detached. It
// has to be that of its new life instead: a detached one would be killed as soon
// as its restorer has ended, and a supervised one would outlive its supervisor.
// No process can set it for another, but CRIU does for the image that it reads.
//
// An image file (criu/include/magic.h, images/*.proto of CRIU, unchanged since
// 1.6) is
//
//	u32 imageMagic | u32 magic of its kind | u32 length | protocol buffer | …
//
// in the byte order of the machine.
const (
	imageMagic  = 0x54564319
	pstreeMagic = 0x50273030
	coreMagic   = 0x55053847

	imageHeader = 12
)

// Numbers of fields.
const (
	pstreePid         = 1 // pstree_entry.pid
	coreThread        = 5 // core_entry.thread_core
	threadDeathSignal = 8 // thread_core_entry.pdeath_sig
)

var errBadImage = errors.New("it is damaged, or not made by CRIU")

// adaptedCore reads the core image of the first process from a directory of
// images and returns its path, and what it has to be for a process with another
// parent death signal; 0 is none.
func adaptedCore(dir string, death syscall.Signal) (path string, image []byte, err error) {
	name, err := rootCore(dir)
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, name)
	image, err = os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	image, err = withDeathSignal(image, death)
	if err != nil {
		return "", nil, fmt.Errorf("read %q: %w", path, err)
	}
	return path, image, nil
}

// rootCore returns the name of the core image of the first process.
func rootCore(dir string) (string, error) {
	path := filepath.Join(dir, "pstree.img")
	image, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no checkpoint in %q; name the directory that sandboxrun checkpoint has filled", dir)
	}
	if err != nil {
		return "", err
	}
	message, _, err := firstMessage(image, pstreeMagic)
	if err != nil {
		return "", fmt.Errorf("read %q: %w", path, err)
	}
	fields, err := splitFields(message)
	if err != nil {
		return "", fmt.Errorf("read %q: %w", path, err)
	}
	pid, found := lastVarint(fields, pstreePid)
	if !found {
		return "", fmt.Errorf("read %q: %w", path, errBadImage)
	}
	return fmt.Sprintf("core-%d.img", pid), nil
}

// withDeathSignal returns a core image with another parent death signal.
func withDeathSignal(image []byte, death syscall.Signal) ([]byte, error) {
	message, rest, err := firstMessage(image, coreMagic)
	if err != nil {
		return nil, err
	}
	fields, err := splitFields(message)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(fields, func(f field) bool { return f.number == coreThread && f.wire == wireBytes })
	if i < 0 {
		return nil, errBadImage
	}
	thread, err := splitFields(fields[i].value)
	if err != nil {
		return nil, err
	}
	thread = slices.DeleteFunc(thread, func(f field) bool { return f.number == threadDeathSignal })
	if death != 0 {
		raw := binary.AppendUvarint(nil, threadDeathSignal<<3|wireVarint)
		thread = append(thread, field{raw: binary.AppendUvarint(raw, uint64(death))})
	}
	value := joinFields(thread)
	raw := binary.AppendUvarint(nil, coreThread<<3|wireBytes)
	raw = binary.AppendUvarint(raw, uint64(len(value)))
	fields[i].raw = append(raw, value...)

	changed := slices.Clone(image[:imageHeader-4])
	body := joinFields(fields)
	changed = binary.NativeEndian.AppendUint32(changed, uint32(len(body)))
	return slices.Concat(changed, body, rest), nil
}

// firstMessage returns the first protocol buffer of an image and what follows.
func firstMessage(image []byte, magic uint32) (message, rest []byte, err error) {
	order := binary.NativeEndian
	if len(image) < imageHeader || order.Uint32(image) != imageMagic || order.Uint32(image[4:]) != magic {
		return nil, nil, errBadImage
	}
	size, body := order.Uint32(image[8:]), image[imageHeader:]
	if uint64(size) > uint64(len(body)) {
		return nil, nil, errBadImage
	}
	return body[:size], body[size:], nil
}

// field is a field of a protocol buffer
// (https://protobuf.dev/programming-guides/encoding/).
type field struct {
	number uint64
	wire   uint64
	raw    []byte // with its tag
	value  []byte // of wireBytes: without its length
}

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// splitFields splits a message; the raw fields one after the other are message.
func splitFields(message []byte) ([]field, error) {
	var fields []field
	for len(message) > 0 {
		tag, head := binary.Uvarint(message)
		if head <= 0 {
			return nil, errBadImage
		}
		f := field{number: tag >> 3, wire: tag & 7}
		body := message[head:]
		var size int
		switch f.wire {
		case wireVarint:
			_, size = binary.Uvarint(body)
			if size <= 0 {
				return nil, errBadImage
			}
		case wireFixed64:
			size = 8
		case wireFixed32:
			size = 4
		case wireBytes:
			length, n := binary.Uvarint(body)
			if n <= 0 || length > uint64(len(body)-n) {
				return nil, errBadImage
			}
			head += n
			body = body[n:]
			size = int(length)
		default:
			return nil, errBadImage
		}
		if size > len(body) {
			return nil, errBadImage
		}
		f.value, f.raw = body[:size], message[:head+size]
		fields = append(fields, f)
		message = message[head+size:]
	}
	return fields, nil
}

func joinFields(fields []field) []byte {
	var message []byte
	for _, f := range fields {
		message = append(message, f.raw...)
	}
	return message
}

// lastVarint returns the value of a field that is a number: the last one, if it
// is there several times.
func lastVarint(fields []field, number uint64) (value uint64, found bool) {
	for _, f := range fields {
		if f.number == number && f.wire == wireVarint {
			value, _ = binary.Uvarint(f.value)
			found = true
		}
	}
	return value, found
}
