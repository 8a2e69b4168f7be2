package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// block is the size of one transfer. O_DIRECT wants whole logical blocks, at most
// 4096 bytes each on today's disks, from memory aligned as well: mmap's is.
const (
	block     = 1 << 20
	alignment = 4096
)

func write(args []string) (retErr error) {
	if err := count(args, 2, 3); err != nil {
		return err
	}
	bytes, err := size(args[1])
	if err != nil {
		return err
	}
	flags, err := openFlags(args[2:])
	if err != nil {
		return err
	}
	if flags != 0 && bytes%alignment != 0 {
		return fmt.Errorf("%w: with direct, BYTES must be a multiple of %d", errUsage, alignment)
	}
	buffer, err := alignedBuffer()
	if err != nil {
		return err
	}
	for i := range buffer {
		buffer[i] = byte(i)
	}
	start := time.Now()
	file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_TRUNC|flags, 0o644)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, file.Close()) }()
	for left := bytes; left > 0; {
		n, err := file.Write(buffer[:min(left, block)])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	if err := file.Sync(); err != nil {
		return err
	}
	printTransfer(bytes, time.Since(start))
	return nil
}

func read(args []string) error {
	if err := count(args, 1, 2); err != nil {
		return err
	}
	flags, err := openFlags(args[1:])
	if err != nil {
		return err
	}
	buffer, err := alignedBuffer()
	if err != nil {
		return err
	}
	start := time.Now()
	file, err := os.OpenFile(args[0], os.O_RDONLY|flags, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	total := int64(0)
	for {
		n, err := file.Read(buffer)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	printTransfer(total, time.Since(start))
	return nil
}

func openFlags(args []string) (int, error) {
	if len(args) == 0 {
		return 0, nil
	}
	if args[0] != "direct" {
		return 0, fmt.Errorf("%w: %q is not \"direct\"", errUsage, args[0])
	}
	return unix.O_DIRECT, nil
}

func alignedBuffer() ([]byte, error) {
	buffer, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map buffer: %w", err)
	}
	return buffer, nil
}

func printTransfer(bytes int64, took time.Duration) {
	fmt.Printf("bytes %d\nseconds %.3f\n", bytes, took.Seconds())
}
