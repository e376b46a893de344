#!/bin/sh
echo ferry
