package main

import "C" // for sysmon.c
