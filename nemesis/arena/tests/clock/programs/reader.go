// For every line on standard input: the wall clock in nanoseconds and the time since start by the monotonic clock.
// Meanwhile goroutines keep every core busy, so that the scheduler preempts by signals.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"time"
)

func main() {
	start := time.Now()
	for i := 0; i < runtime.NumCPU(); i++ {
		go func() {
			for x := 0; ; x++ {
				if x&0xffffff == 0 {
					time.Sleep(5 * time.Millisecond)
				}
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		now := time.Now()
		fmt.Printf("wall=%d elapsed=%d\n", now.UnixNano(), now.Sub(start).Nanoseconds())
	}
}
