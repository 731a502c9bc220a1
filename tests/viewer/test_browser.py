"""The viewer in a real browser: it loads, measures, attacks, explores and hands over what is shown (`make view-test`).

Screenshots are left in the folder that SCREENSHOTS names, to be looked at.
"""

import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.conftest import ROOT

SECONDS = 120
FLAGS = (
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--window-size=1400,1100",
)  # fmt: skip


@pytest.fixture(scope="module")
def address():
  """Of a server of its own, on this machine alone."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  command = [sys.executable, "-m", "prt_jax.view", "bicubic", f"--port={port}", "--max_side=24", "--max_upload=1"]
  server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"})
  try:
    until(lambda: answers(port), "the server does not answer")
    yield f"http://127.0.0.1:{port}"
  finally:
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
  return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(address, downloads, tmp_path_factory):
  options = webdriver.ChromeOptions()
  for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
    options.add_argument(flag)
  options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
  driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
  driver.get(address)
  yield driver
  driver.quit()


def answers(port):
  with socket.socket() as client:
    client.settimeout(1)
    return client.connect_ex(("127.0.0.1", port)) == 0


def until(condition, message):
  end = time.monotonic() + SECONDS
  while not condition():
    assert time.monotonic() < end, message
    time.sleep(0.3)


def text(browser, selector):
  return " ".join(element.text for element in browser.find_elements(By.CSS_SELECTOR, selector))


def click(browser, selector):
  until(lambda: browser.find_elements(By.CSS_SELECTOR, selector), f"there is no {selector}")
  browser.find_elements(By.CSS_SELECTOR, selector)[0].click()


def tab(browser, name):
  next(button for button in browser.find_elements(By.CSS_SELECTOR, "button[role=tab]") if button.text == name).click()


def picture(browser, name):
  if folder := os.environ.get("SCREENSHOTS"):
    time.sleep(1)
    browser.save_screenshot(str(pathlib.Path(folder) / f"{name}.png"))


def value(browser, part, label):
  """The number beside a label of a part's table."""
  words = text(browser, f"#{part}-numbers").split("\n")
  return float(words[words.index(label) + 1].split()[0])


def test_a_picture_is_measured_attacked_explored_and_downloaded(browser, downloads):
  click(browser, "#examples .thumbnail-item")
  until(lambda: browser.find_elements(By.CSS_SELECTOR, "#picture img"), "the example is not taken")
  click(browser, "#measure")
  until(lambda: "consistency" in text(browser, "#restored-numbers"), "nothing is restored")
  assert value(browser, "restored", "PSNR-Y to the original") > 15
  assert len(browser.find_elements(By.CSS_SELECTOR, "#restored-pictures .thumbnail-item")) == 3
  picture(browser, "restore")
  tab(browser, "Attack")
  click(browser, "#attack")
  until(lambda: "output PSNR" in text(browser, "#attacked-numbers"), "nothing is attacked")
  assert 30 < value(browser, "attacked", "input PSNR") < 40 and value(browser, "attacked", "K, at least") > 1
  assert len(browser.find_elements(By.CSS_SELECTOR, "#attacked-pictures .thumbnail-item")) == 5
  picture(browser, "attack")
  tab(browser, "Explore")
  click(browser, "#explore")
  until(lambda: "mean distance" in text(browser, "#explored-numbers"), "nothing is explored")
  picture(browser, "explore")
  click(browser, "#download")
  until(lambda: list(downloads.glob("*.zip")), "nothing is downloaded")
  with zipfile.ZipFile(next(downloads.glob("*.zip"))) as archive:
    names = archive.namelist()
    assert "restore/0-original.png" in names and "explore/numbers.json" in names
    assert "K, at least" in json.loads(archive.read("attack/numbers.json"))
    assert Image.open(io.BytesIO(archive.read("restore/2-restored.png"))).size == (192, 192)


def test_an_upload_is_taken_and_a_large_one_refused(browser, address, tmp_path):
  browser.get(address)
  until(lambda: browser.find_elements(By.CSS_SELECTOR, "#picture input[type=file]"), "there is nowhere to upload")
  upload = browser.find_element(By.CSS_SELECTOR, "#picture input[type=file]")
  rng = np.random.default_rng(0)
  Image.fromarray(rng.integers(0, 256, (900, 900, 3), dtype=np.uint8)).save(tmp_path / "large.png")  # 2.4 MB
  upload.send_keys(str(tmp_path / "large.png"))
  until(lambda: "size" in text(browser, ".toast-body, .toast-wrap, .error").lower(), "the large file is not refused")
  assert not browser.find_elements(By.CSS_SELECTOR, "#picture img")
  browser.get(address)
  until(lambda: browser.find_elements(By.CSS_SELECTOR, "#picture input[type=file]"), "there is nowhere to upload")
  Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "small.png")
  browser.find_element(By.CSS_SELECTOR, "#picture input[type=file]").send_keys(str(tmp_path / "small.png"))
  until(lambda: browser.find_elements(By.CSS_SELECTOR, "#picture img"), "the picture is not taken")
  click(browser, "#measure")
  until(lambda: "the picture is 30x20" in text(browser, ".toast-body, .toast-wrap"), "the mistake is not said")
