import { defineConfig } from '@flotilla/service/config';

export class TrackingConfig extends defineConfig({}) {}
