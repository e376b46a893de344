"""Sends a file by tuspy, and goes on where it is cut off: python3 tuspy_client.py URL TOKEN FILE NAME."""

import sys
import time

import urllib3
from requests.exceptions import RequestException
from tusclient import client
from tusclient.exceptions import TusCommunicationError

urllib3.disable_warnings()
url, token, file, name = sys.argv[1:]
tus = client.TusClient(url, headers={"Authorization": f"Bearer {token}"})
uploader, cuts = None, 0
while True:
    try:
        # With its URL it asks how far it is.
        upload_url = uploader.url if uploader else None
        uploader = tus.uploader(
            file,
            url=upload_url,
            chunk_size=4 * 1024 * 1024,
            metadata={"filename": name},
            verify_tls_cert=False,
            upload_checksum=False,
        )
        uploader.upload()
        break
    except (RequestException, TusCommunicationError, ConnectionError, OSError) as error:
        cuts += 1
        if cuts > 200:
            raise
        time.sleep(0.1)
print(cuts)
