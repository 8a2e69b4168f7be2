package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// machineCode is a program by GOARCH.
type machineCode map[string]struct {
	machine elf.Machine
	code    []byte
}

// exitZero is exit(0).
var exitZero = machineCode{
	"amd64": {elf.EM_X86_64, []byte{
		0x31, 0xff, // xor edi, edi
		0xb8, 0x3c, 0, 0, 0, // mov eax, SYS_exit
		0x0f, 0x05, // syscall
	}},
	"arm64": {elf.EM_AARCH64, []byte{
		0x00, 0x00, 0x80, 0xd2, // mov x0, #0
		0xa8, 0x0b, 0x80, 0xd2, // mov x8, #SYS_exit
		0x01, 0x00, 0x00, 0xd4, // svc #0
	}},
}

// waitForEver waits for a signal, again and again.
var waitForEver = machineCode{
	"amd64": {elf.EM_X86_64, []byte{
		0xb8, 0x22, 0, 0, 0, // mov eax, SYS_pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to the beginning
	}},
	"arm64": {elf.EM_AARCH64, []byte{
		0x00, 0x00, 0x80, 0xd2, // mov x0, #0
		0x01, 0x00, 0x80, 0xd2, // mov x1, #0
		0x02, 0x00, 0x80, 0xd2, // mov x2, #0
		0x03, 0x00, 0x80, 0xd2, // mov x3, #0
		0x28, 0x09, 0x80, 0xd2, // mov x8, #SYS_ppoll
		0x01, 0x00, 0x00, 0xd4, // svc #0
		0xfa, 0xff, 0xff, 0x17, // b to the beginning
	}},
}

// trueProgram returns /bin/true as the smallest static executable: one loaded
// segment, no C library. What a program does in its own start is no business of
// a sandbox, so it is kept out of the figures; and no compiler is needed where
// bench is copied to.
func trueProgram(arch string) ([]byte, error) { return exitZero.program(arch) }

// idleProgram returns what keeps a container running that others enter.
func idleProgram(arch string) ([]byte, error) { return waitForEver.program(arch) }

func (m machineCode) program(arch string) ([]byte, error) {
	exit, ok := m[arch]
	if !ok {
		return nil, fmt.Errorf("cannot make a program for %s: its machine code is not known; give a static one with -program", arch)
	}
	const base = 0x400000
	headers := binary.Size(elf.Header64{}) + binary.Size(elf.Prog64{})
	size := uint64(headers + len(exit.code))

	header := elf.Header64{
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(exit.machine),
		Version:   uint32(elf.EV_CURRENT),
		Entry:     base + uint64(headers),
		Phoff:     uint64(binary.Size(elf.Header64{})),
		Ehsize:    uint16(binary.Size(elf.Header64{})),
		Phentsize: uint16(binary.Size(elf.Prog64{})),
		Phnum:     1,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	segment := elf.Prog64{
		Type:   uint32(elf.PT_LOAD),
		Flags:  uint32(elf.PF_R | elf.PF_X),
		Vaddr:  base,
		Paddr:  base,
		Filesz: size,
		Memsz:  size,
		Align:  0x10000, // the largest page size of arm64
	}
	var out bytes.Buffer
	for _, part := range []any{header, segment, exit.code} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("encode program: %w", err)
		}
	}
	return out.Bytes(), nil
}
